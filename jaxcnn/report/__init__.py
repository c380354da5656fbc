"""What people look at: figures (Matplotlib) and pages (one self-contained HTML file each)."""
