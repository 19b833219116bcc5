public import SystemPackage

/// Why something of a firewall could not be read or changed.
public struct FirewallError: Error, Sendable, Hashable {
  /// The kind of failure; more may be added.
  public struct Code: Sendable, Hashable, CustomStringConvertible {
    /// A short name.
    public let description: String
    private init(_ description: String) { self.description = description }

    /// Text that is not what the format allows, at a known place.
    public static let malformed = Code("malformed")
    /// More than the stated limit.
    public static let tooLarge = Code("too large")
    /// A tool is not installed.
    public static let toolNotFound = Code("tool not found")
    /// The tool ran and may not do this.
    public static let permissionDenied = Code("permission denied")
    /// The lock was held by another program for longer than asked to wait.
    public static let locked = Code("locked")
    /// The tool ran and refused or failed.
    public static let toolFailed = Code("tool failed")
    /// A file or descriptor could not be used.
    public static let system = Code("system")
  }

  /// The kind of failure.
  public var code: Code
  /// What was being done, such as `read ipv4.nft.save`.
  public var operation: String
  /// The file, if the failure is in one.
  public var file: String?
  /// The line, 1-based.
  public var line: Int?
  /// The column in bytes, 1-based.
  public var column: Int?
  /// What should have stood there, in words.
  public var expected: String?
  /// What stood there; not escaped for terminals.
  public var found: String?
  /// The tool's exit status; a signal is 128 plus its number.
  public var exitStatus: Int?
  /// What the tool wrote to standard error; not escaped for terminals.
  public var standardError: String?
  /// The error number under it, if a system call failed.
  public var errno: Errno?
  /// What to do, in a sentence.
  public var advice: String?

  /// Makes an error.
  public init(
    _ code: Code, operation: String, file: String? = nil, line: Int? = nil, column: Int? = nil,
    expected: String? = nil, found: String? = nil, exitStatus: Int? = nil,
    standardError: String? = nil, errno: Errno? = nil, advice: String? = nil
  ) {
    self.code = code
    self.operation = operation
    self.file = file
    self.line = line
    self.column = column
    self.expected = expected
    self.found = found
    self.exitStatus = exitStatus
    self.standardError = standardError
    self.errno = errno
    self.advice = advice
  }

  /// Whether privileges are what is missing.
  public var isPermissionDenied: Bool { code == .permissionDenied }
}

extension FirewallError: CustomStringConvertible {
  /// What failed and why in one line, without the advice; control characters are made visible.
  public var description: String {
    var text = ""
    if let file {
      text += printable(file)
      if let line { text += ":\(line)" }
      if let column { text += ":\(column)" }
      text += ": "
    }
    text += "cannot \(printable(operation)): "
    if let expected {
      text += "expected \(expected)"
      if let found { text += ", found \(printable(found, limit: 60))" }
    } else if let errno {
      text += errno.description
    } else {
      text += code.description
    }
    if let exitStatus { text += " (exit status \(exitStatus))" }
    if let standardError, !standardError.isEmpty {
      text += ": " + printable(standardError, limit: 600)
    }
    return text
  }
}

/// Text from outside made safe for a terminal: control characters and what follows a limit go.
func printable(_ text: String, limit: Int = .max) -> String {
  var result = ""
  var count = 0
  for scalar in text.unicodeScalars {
    if count == limit {
      result += "…"
      break
    }
    count += 1
    switch scalar.value {
    case 0x0A: result += "\\n"
    case 0x09: result += "\\t"
    case 0..<0x20, 0x7F..<0xA0, 0x202A...0x202E, 0x2066...0x2069, 0x200E, 0x200F:
      result += "\\u{\(String(scalar.value, radix: 16))}"
    default: result.unicodeScalars.append(scalar)
    }
  }
  return result
}
