"""quickstart: a Flower / scikit-learn app."""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

CLASSES, FEATURES = 10, 64


def initial_params():
    """Weights and biases of a softmax regression, all zero."""
    return [np.zeros((CLASSES, FEATURES)), np.zeros(CLASSES)]


def load_data(partition_id, num_partitions):
    """One node's share of the digits: training and test."""
    digits = load_digits()
    features, labels = digits.data / 16.0, digits.target
    mine = np.arange(len(labels)) % num_partitions == partition_id
    return train_test_split(features[mine], labels[mine], test_size=0.2, random_state=0)


def probabilities(params, features):
    weights, biases = params
    logits = features @ weights.T + biases
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def fit(params, features, labels, lr, epochs=30):
    """Gradient descent on the cross-entropy."""
    weights, biases = (np.array(p) for p in params)
    targets = np.eye(CLASSES)[labels]
    for _ in range(epochs):
        error = probabilities([weights, biases], features) - targets
        weights -= lr * error.T @ features / len(labels)
        biases -= lr * error.mean(axis=0)
    return [weights, biases]


def evaluate(params, features, labels):
    """Loss and accuracy."""
    found = probabilities(params, features)
    loss = -np.log(found[np.arange(len(labels)), labels] + 1e-12).mean()
    return float(loss), float((found.argmax(axis=1) == labels).mean())
