export interface ListNode<T> {
  readonly value: T;
  previous: ListNode<T> | undefined;
  next: ListNode<T> | undefined;
}

/** A list from whose middle one can leave in constant time, which an array or a ring cannot give. */
export class LinkedList<T> {
  size = 0;
  first: ListNode<T> | undefined;
  #last: ListNode<T> | undefined;

  push(value: T): ListNode<T> {
    const node: ListNode<T> = { value, previous: this.#last, next: undefined };
    if (this.#last === undefined) this.first = node;
    else this.#last.next = node;
    this.#last = node;
    this.size++;
    return node;
  }

  shift(): ListNode<T> | undefined {
    const node = this.first;
    if (node !== undefined) this.remove(node);
    return node;
  }

  /** `node` must be in this list. */
  remove(node: ListNode<T>): void {
    if (node.previous === undefined) this.first = node.next;
    else node.previous.next = node.next;
    if (node.next === undefined) this.#last = node.previous;
    else node.next.previous = node.previous;
    node.previous = undefined;
    node.next = undefined;
    this.size--;
  }
}
