"""What vendors report after they took a message: a file for each that reads it, and says whether it is the vendor's."""
