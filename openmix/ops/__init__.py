"""Pure tensor functions: draws, boxes, masks, saliency."""
