import { createValidator, type Validator } from '@bufbuild/protovalidate'

/**
 * Checks messages against the rules that stand beside their fields in the schema. There is one for the whole process, because compiling
 * the rules of a kind of field takes 10 to 50 ms and a megabyte, whatever message it stands in.
 */
export const validator: Validator = createValidator()
