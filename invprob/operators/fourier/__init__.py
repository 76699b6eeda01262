"""The non-uniform Fourier transform and its normal operator, which tomography and MRI share."""
