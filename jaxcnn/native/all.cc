// All in one: the headers of XLA take longer to compile than what uses them.

#include "channel_sums.cc"
#include "convolution.cc"
#include "depthwise.cc"
