"""Compiled loops of the quantization. Of the rest of the package they use constants of ``parameters`` alone."""

import numpy as np

from .compiled import kernel
from .parameters import DEGREE


@kernel
def survey(delta, bounds, clip):
    """Whether all of ``delta`` is finite, and how many values lie outside their tensor's clip range."""
    finite, outside = 0, 0
    for tensor in range(clip.size):
        for i in range(bounds[tensor], bounds[tensor + 1]):
            size = abs(np.float64(delta[i]))
            finite += int(size < np.inf)  # false for NaN too
            outside += int(size > clip[tensor])
    return finite == delta.size, outside


@kernel
def quantize_rows(delta, first, bounds, scale, limit, extras, bits, per, words, out):
    """Slot s of coefficient i of row j holds value (j·m + s)·N + i; see :meth:`Quantized.rows` for shapes."""
    dimension = bounds[-1]
    bound = float(limit)
    for row in range(out.shape[0]):
        for place in range(per):
            start = ((first + row) * per + place) * DEGREE
            shift = np.uint64(place * bits)
            target, noise = out[row], words[row, place * DEGREE : (place + 1) * DEGREE]
            if place == 0:
                target[:] = np.uint64(0)
            end = min(start + DEGREE, dimension)
            tensor = np.searchsorted(bounds, start, side="right") - 1
            at = start
            while at < end:
                stop = min(end, bounds[tensor + 1])
                factor = scale[tensor]
                base = at - start
                for i in range(stop - at):
                    value = min(max(np.float64(delta[at + i]) * factor, -bound), bound)
                    whole = np.floor(value + np.float64(noise[base + i]) * 2.0**-32)
                    slot = np.int64(min(whole, bound)) + limit
                    target[base + i] |= np.uint64(slot) << shift
                at = stop
                tensor += 1
            for extra in range(extras.size):
                i = dimension + extra - start
                if 0 <= i < DEGREE:
                    slot = np.int64(min(np.floor(extras[extra] + np.float64(noise[i]) * 2.0**-32), 2.0 * bound))
                    target[i] |= np.uint64(slot) << shift


@kernel
def split_rows(messages, first, bits, per, out):
    """The inverse of :func:`quantize_rows` as to places; False if a slot beyond ``out`` is not zero."""
    mask = np.uint64((1 << bits) - 1)
    clean = True
    for row in range(messages.shape[0]):
        for place in range(per):
            start = ((first + row) * per + place) * DEGREE
            shift = np.uint64(place * bits)
            source = messages[row]
            end = min(max(out.size - start, 0), DEGREE)
            for i in range(end):
                out[start + i] = (source[i] >> shift) & mask
            for i in range(end, DEGREE):
                clean = clean and ((source[i] >> shift) & mask) == 0
    return clean
