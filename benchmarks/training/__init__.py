"""The client's trainer beside Shepherd's set-up (arXiv:2305.05644): same model, records, seed and tokens, each in a
process of its own."""
