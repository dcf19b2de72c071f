"""The whole cloud on one machine: packaging, emulator, apply, first client."""
