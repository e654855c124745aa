"""xECG: nine xLSTM blocks over patches of 0.25 s, read forward and backward in turn, pre-trained by SimDINOv2."""
