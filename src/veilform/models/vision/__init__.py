"""Convolution networks (ResNet, MobileNetV2, DC-VAE's two), plain and under secure computation."""
