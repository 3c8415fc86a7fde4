"""What a cluster needs to run this: manifests (YAML), and what checks them and the dashboards without a cluster."""
