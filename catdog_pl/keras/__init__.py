"""Keras files in and out, with h5py alone: no Keras is imported and nothing in a file is executed.

In:

    container      a file of any kind, opened: configuration, arrays, what it was compiled with
    config         the JSON configuration -> the model's layers in order
    steps          a layer -> what it does, after a look at its options
    recognise      steps -> which of our models this is, with which hyper-parameters
    image_size     the image size of a file that does not tell it
    stored         which arrays belong to which layer
    reading        a file -> a model with its weights

Out:

    layout         a model -> the layers of the Keras model that equals it
    writing        a model -> a file

Both ways:

    arrays         kernels and biases between the two orders of axes
    preprocessing  what stands in front of the first layer
    optimizer      RMSprop and the mean squares it keeps
    command        ``python -m catdog_pl keras import|export``

What is safe about reading HDF5 is in ``models.hdf5`` and the two layouts in ``models.keras_h5``, where
VGG16's pretrained weights are read as well.
"""
