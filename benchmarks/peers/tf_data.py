"""The input pipeline of those that take tf.data."""

import tensorflow as tf
from peers.task import IMAGES, PADDING, Task


def train_data(task: Task) -> tf.data.Dataset:
    """Endless shuffled batches (uint8[B, 32, 32, 3], int32[B]), cropped and flipped."""

    def augment(image, label):
        image = tf.pad(image, ((PADDING, PADDING), (PADDING, PADDING), (0, 0)))
        image = tf.image.random_crop(image, (32, 32, 3))
        return tf.image.random_flip_left_right(image), label

    data = tf.data.Dataset.from_tensor_slices(task.data()).shuffle(IMAGES).repeat()
    data = data.map(augment, num_parallel_calls=tf.data.AUTOTUNE)
    return data.batch(task.batch_size, drop_remainder=True).prefetch(tf.data.AUTOTUNE)
