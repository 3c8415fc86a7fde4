"""Images and labels to train, calibrate and evaluate on."""
