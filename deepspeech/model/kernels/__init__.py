"""The same layers, faster: what the network computes can be read without them."""
