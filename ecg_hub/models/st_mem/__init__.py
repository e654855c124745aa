"""ST-MEM: a vision transformer over patches of all leads, pre-trained by masked reconstruction."""
