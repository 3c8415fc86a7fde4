"""From an architecture to a published model version: arguments, an `ExportSpec`, then the steps of `pipeline`."""
