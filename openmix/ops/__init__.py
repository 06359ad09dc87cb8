"""Pure tensor functions: random draws, boxes, masks, saliency, graph cuts, block transport."""
