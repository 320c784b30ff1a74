"""What runs in the background: liveness, repair, republishing, handing over. It builds on `node/`."""
