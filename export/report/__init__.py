"""What a version's export found out, as a page beside the version: `assets.extra/report/`."""
