"""From a config to data, model, optimiser, loss and devices. Only builders read configs."""
