/* Moves the process that links this into namespaces of its own before main() runs.

   A process with several threads can neither make nor enter a user namespace, and a Swift test
   process has several by the time the first test runs. So it happens in a constructor, which the
   loader calls while there is one thread. Link it to test targets only. */
#ifndef SIPLEAK_CPRIVATENAMESPACES_H
#define SIPLEAK_CPRIVATENAMESPACES_H

/* Why there are no private namespaces, as a sentence; NULL when the process is in them. */
const char *private_namespaces_error(void);

/* Inode of the network namespace the process came from; 0 when it could not be read. */
unsigned long long private_namespaces_outside(void);

/* Keeps the calling thread on the processor it is on, until leave_processor(). */
void stay_on_processor(void);
void leave_processor(void);

#endif
