"""Pure: values with their versions, who may write them, and which of two records wins."""
