from fedprivacy.crypto import Suite


def test_codepoints_and_labels_are_settled():
    assert [(suite.value, suite.label) for suite in Suite] == [
        (1, "x25519-ed25519-hkdf-sha256-aes256gcm-aes256ctr")
    ]
