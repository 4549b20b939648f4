"""Convolution networks: ResNet and MobileNetV2, in plain numbers and under secure computation."""
