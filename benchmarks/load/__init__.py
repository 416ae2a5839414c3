"""One ``fedit-server`` under load: a thousand devices that speak the protocol and train nothing, on loopback."""
