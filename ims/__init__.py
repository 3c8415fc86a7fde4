"""One program for everything: `ims serve`, `ims export`, `ims loadtest`, `ims sync`, `ims keys`, `ims predict`."""
