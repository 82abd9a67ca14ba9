"""Everything that leaves the house: SavedModel, ONNX, model card, verification."""
