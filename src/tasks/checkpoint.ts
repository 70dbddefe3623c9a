/** Told of the steps between which a crash makes a difference; tests end the process there. */
export type Checkpoint = (step: CheckpointStep) => void

/**
 * `admitted`: the task is recorded or about to be. `intended`: the intent is on the disk, nothing is sent. `stored`: an image is in its
 * place, its row is not. `closing`: everything is there but the commit. `finished`: the result is on the disk, the answer not yet through.
 * `acknowledged`: a detached task is on the disk, its caller does not know yet. `called`: a callback was delivered, which is not yet recorded.
 */
export type CheckpointStep = (typeof checkpointSteps)[number]

export const checkpointSteps = ['admitted', 'intended', 'stored', 'closing', 'finished', 'acknowledged', 'called'] as const
