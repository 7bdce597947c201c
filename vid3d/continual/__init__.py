"""CLIP NETWORK -> THE SAME NETWORK, A FRAME AT A TIME. Start with `network.py`.

A clip network computes every layer of every clip anew, although clips that follow each other share
all frames but one. Here each layer keeps the few results of the past that it needs, and computes
one step: Hedegaard, Iosifidis, "Continual 3D Convolutional Neural Networks for Real-time Processing
of Videos", ECCV 2022. No weight is changed. The form is derived from JAX's trace of the network, so
that it exists for every architecture whose operations in time are windows.
"""
