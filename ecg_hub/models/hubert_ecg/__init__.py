"""HuBERT-ECG: a HuBERT encoder over the twelve leads laid end to end, pre-trained by masked prediction of clusters."""
