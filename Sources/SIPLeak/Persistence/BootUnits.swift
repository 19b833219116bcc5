import FoundationEssentials
import Glibc
public import SystemPackage

/// The two systemd units that carry blocks over a reboot.
///
/// A saved ruleset that names our set, loaded before the set exists, aborts at `*raw` and leaves the
/// host without a filter table (facts E9). So one unit makes the empty sets before every firewall
/// loader, and one puts members and hook back after them, once the network is up: what the rules do
/// with a peer hangs on the host's addresses and routes.
public struct BootUnits: Sendable, Hashable {
  /// The program the units start.
  public var program: String

  /// Services that load a saved firewall.
  public static let loaders = [
    "netfilter-persistent", "iptables", "ip6tables", "nftables", "firewalld", "ufw", "shorewall",
    "ferm",
  ]
  /// The unit that makes the empty sets.
  public static let setsUnit = "sipleak-sets.service"
  /// The unit that puts blocks back and saves them at shutdown.
  public static let blocksUnit = "sipleak-blocks.service"

  /// Makes the units of a program.
  ///
  /// - Parameter program: Its absolute path.
  public init(program: String = "/usr/local/bin/sipleak") {
    self.program = program
  }

  private static let services = loaders.map { "\($0).service" }.joined(separator: " ")

  /// The unit files by name.
  public var files: [String: String] {
    [
      Self.setsUnit: """
      [Unit]
      Description=Empty sets of sipleak, before a firewall that names them is loaded
      Documentation=man:sipleak(8)
      DefaultDependencies=no
      Wants=network-pre.target
      After=local-fs.target systemd-modules-load.service
      Before=network-pre.target \(Self.services)

      [Service]
      Type=oneshot
      RemainAfterExit=yes
      ExecStart=\(program) persist sets

      [Install]
      WantedBy=multi-user.target

      """,
      Self.blocksUnit: """
      [Unit]
      Description=Blocks of sipleak, after the firewall is loaded
      Documentation=man:sipleak(8)
      Wants=\(Self.setsUnit) network-online.target
      After=\(Self.setsUnit) network-online.target \(Self.services)
      Before=asterisk.service freeswitch.service kamailio.service opensips.service

      [Service]
      Type=oneshot
      RemainAfterExit=yes
      ExecStart=\(program) persist restore
      ExecStop=\(program) persist save

      [Install]
      WantedBy=multi-user.target

      """,
    ]
  }

  private static func folder(_ root: FilePath) -> FilePath {
    root.appending("etc/systemd/system")
  }

  /// Whether both units are there and are started at boot.
  ///
  /// - Parameter root: The root of the host's files.
  /// - Returns: Whether they are.
  public static func areInstalled(root: FilePath = "/") -> Bool {
    let folder = folder(root)
    return [setsUnit, blocksUnit].allSatisfy { unit in
      [folder, folder.appending("multi-user.target.wants")].allSatisfy { place in
        var status = Glibc.stat()
        return unsafe lstat(place.appending(unit).string, &status) == 0
      }
    }
  }

  /// Writes both units and enables them, as `systemctl enable` does.
  ///
  /// - Parameter root: The root of the host's files.
  /// - Returns: The files written.
  /// - Throws: ``SIPLeakError`` with the code `unchanged` or, when something is left, `notUndone`.
  public func install(root: FilePath = "/") throws(SIPLeakError) -> [FilePath] {
    let folder = Self.folder(root)
    let wants = folder.appending("multi-user.target.wants")
    var written: [FilePath] = []
    do {
      try Self.makeFolders(to: wants)
      for (name, text) in files.sorted(by: { $0.key < $1.key }) {
        let file = folder.appending(name)
        try WholeFile.write(Data(text.utf8), to: file)
        _ = unsafe chmod(file.string, 0o644)
        written.append(file)
        let link = wants.appending(name)
        _ = unsafe unlink(link.string)
        guard unsafe symlink("../\(name)", link.string) == 0 else { throw Errno(rawValue: errno) }
      }
      // Without it nothing would be saved, and nothing put back.
      let state = root.appending(History.usualFolder.components)
      try Self.makeFolders(to: state.removingLastComponent())
      try Self.makeFolder(state, mode: 0o700)
    } catch {
      throw SIPLeakError(
        written.isEmpty ? .unchanged : .notUndone, "cannot write the units to \(folder): \(error)",
        advice: written.isEmpty
          ? "Nothing was changed. Is it read-only, or not yours? Run it as root."
          : "`sipleak persist --remove`")
    }
    return written
  }

  private static func makeFolders(to path: FilePath) throws {
    var folder = FilePath()
    folder.root = path.root
    for part in path.components {
      folder.append(part)
      try makeFolder(folder, mode: 0o755)
    }
  }

  private static func makeFolder(_ folder: FilePath, mode: mode_t) throws {
    guard unsafe mkdir(folder.string, mode) != 0, errno != EEXIST else { return }
    let failure = Errno(rawValue: errno)
    // A file system that is mounted read-only says so also of what is there.
    guard (try? folder.stat())?.type != .directory else { return }
    throw failure
  }

  /// Removes both units.
  ///
  /// - Parameter root: The root of the host's files.
  /// - Returns: Whether anything was there.
  public static func remove(root: FilePath = "/") -> Bool {
    let folder = folder(root)
    var found = false
    for unit in [setsUnit, blocksUnit] {
      for place in [folder.appending("multi-user.target.wants"), folder]
      where unsafe unlink(place.appending(unit).string) == 0 { found = true }
    }
    return found
  }
}
