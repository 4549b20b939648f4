"""DC-VAE: an autoencoder that generates, served privately. Source: arXiv 2011.10063."""

from veilform.vision.dcvae.config import VARIANTS, Config, variant

__all__ = ["VARIANTS", "Config", "variant"]
