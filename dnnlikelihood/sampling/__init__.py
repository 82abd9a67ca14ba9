"""Drawing samples: emcee moves, HMC and NUTS on gradients, designs of training points, convergence."""
