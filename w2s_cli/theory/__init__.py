"""Synthetic experiments of theory papers: NumPy in float64, no data set, no pretrained model."""
