"""What autoscaling does about a load that grows ten-fold at once: the manifests' autoscalers in virtual time."""
