/// What the host's network looks like: addresses, routes, listening sockets.
///
/// Everything is read over rtnetlink, sock_diag and `/proc/sys/net` of the namespace asked for. Nothing
/// here needs a privilege in the current namespace; `CAP_SYS_ADMIN` for another one.
public enum HostNetwork {}
