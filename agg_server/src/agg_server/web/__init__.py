"""HTTP: TLS, who may ask how often, routes. Decodes, asks the driver, encodes; no logic of rounds."""
