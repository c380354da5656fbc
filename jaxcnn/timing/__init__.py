"""What `jaxcnn benchmark` measures: the speed of a training, part by part, and what models cost."""
