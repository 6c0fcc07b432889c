"""Object stores: where the files of jobs (inputs and outputs) are kept, in a local folder or in a bucket."""
