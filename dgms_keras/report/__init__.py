"""Pictures of what the method did. plots.py: a layer's weights with its mixture (matplotlib, extra `[report]`)."""
