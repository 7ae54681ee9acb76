"""The architectures: what maps latents to images, and images to logits."""
