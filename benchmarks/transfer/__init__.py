"""Transfer learning, shown: few images, learned from the start and with weights from other images."""
