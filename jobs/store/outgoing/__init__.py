"""Messages that wait until their receivers have them: of webhooks, and of Devoid's sockets."""
