"""How a release is made: `make dist`, `make audit`, `make version`. docs/releasing.md says what each step is for."""
