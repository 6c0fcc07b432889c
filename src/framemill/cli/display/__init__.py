"""What people see: text, tables, bars and pictures, fitted to the terminal."""
