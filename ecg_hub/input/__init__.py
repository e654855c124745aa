"""From a recording to `input_values`: leads, units, windows, sampling rate, preparation steps, presets."""
