"""What this project's reports are drawn with: SVG, tables and pages that need no network."""
