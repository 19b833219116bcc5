/// A large value that is mostly absent or the same, kept apart from the one that may have it.
///
/// Ten thousand findings are held at once; each would carry the room for what few of them have, or
/// what all copies of one share.
@propertyWrapper
public struct Boxed<Value: Sendable & Hashable>: Sendable, Hashable {
  private final class Storage: Sendable {
    let value: Value
    init(_ value: Value) { self.value = value }
  }

  private var storage: Storage?

  /// Keeps a value, or nothing.
  public init(wrappedValue: Value?) { storage = wrappedValue.map(Storage.init) }

  /// The value, or `nil`.
  public var wrappedValue: Value? {
    get { storage?.value }
    set { storage = newValue.map(Storage.init) }
  }

  /// Whether two hold the same.
  public static func == (left: Boxed, right: Boxed) -> Bool {
    left.storage === right.storage || left.wrappedValue == right.wrappedValue
  }

  /// Hashes the value.
  public func hash(into hasher: inout Hasher) { hasher.combine(wrappedValue) }
}
