/**
 * Set in the environment of a front that our own shell starts. Such a front returns all failures as data and prints
 * neither them nor that it starts a daemon: the shell shows its errors itself. It is not a setting; no daemon gets it.
 */
export const shellFrontVariable = "OLLM_SHELL_FRONT";
