"""How samples are drawn and judged, and where training points lie.

hmc           the default: many chains on gradients, whitened; thousands of times the samples of a walker a second
ensemble      emcee, for densities without a gradient, for cross-checks, and for the samplings of the paper
convergence   split R-hat, autocorrelation time, effective sample size, and the verdict
designs       points for training that no sample of the density contains
chains        blocks of a run on disk, from which a killed run continues
starts        where chains begin
spread        a density evaluated by an executor
"""
